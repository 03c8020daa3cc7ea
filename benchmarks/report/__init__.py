"""What was measured as a page, as Markdown, as the README's table, and compared with older results."""
