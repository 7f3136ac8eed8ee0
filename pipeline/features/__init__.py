"""Extract features of media files; read and write feature files."""
