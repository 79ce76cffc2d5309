"""The documentation: Markdown with tables made from the code -> pages of HTML."""
