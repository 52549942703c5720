"""What `aoss top` does: scrape, read, tally, show."""
