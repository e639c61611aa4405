"""Agency: a software agency on one machine, steered by chat and proven by a signed transcript."""

__version__ = "0.1.0"
