"""How many tokens does each mark need? Power at several lengths, beside other marks."""
