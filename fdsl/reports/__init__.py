"""Reports for people: contact sheets, the report, estimates."""
