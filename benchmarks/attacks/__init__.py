"""What survives of the mark when somebody changes the text? The scorecard of attacks."""
