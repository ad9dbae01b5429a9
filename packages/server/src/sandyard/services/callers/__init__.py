"""Who is calling the gateway."""
