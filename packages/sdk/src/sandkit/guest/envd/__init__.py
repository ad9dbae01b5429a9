"""What speaks on the guest's port: envd's protocol (Connect JSON, /files, /health), standard library only, imported late."""
