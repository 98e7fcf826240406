"""Moving samples between this clone and others: at the cost of what is asked for."""
