"""Detection: distinct windows, exact p-values, and the accounts and calls behind a text."""
