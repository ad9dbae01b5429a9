"""What callers may use, and what they have used."""
