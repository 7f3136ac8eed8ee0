"""Extract features from media files; read and write feature files."""
