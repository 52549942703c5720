"""What `aoss demo` does: a bounded stream of varied executions, counted twice."""
