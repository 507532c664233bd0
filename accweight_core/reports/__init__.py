"""A report on one or several analyses, to be sent: one page, or the same as Markdown or JSON."""
