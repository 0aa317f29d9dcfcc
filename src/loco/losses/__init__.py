"""What training minimises: detection losses and cross-modal correspondence."""
