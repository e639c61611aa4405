"""Record of the runs of recipe CI: one database that bridge, engine and dashboard share."""
