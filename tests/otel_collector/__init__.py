"""The Collector's configuration, run by the real Collector against real stores."""
