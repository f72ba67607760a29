"""Claims and verdicts, tables, figures, the page."""
