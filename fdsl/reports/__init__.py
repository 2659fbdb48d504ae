"""Reports for people: contact sheets and estimates."""
