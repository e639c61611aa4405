"""Program `agency observe`: it runs probes on its machine and prints evidence as JSON."""
