"""The data doctor: everything that is wrong with the data of a configuration, before it trains."""
