"""Images, video and factors."""
