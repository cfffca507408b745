"""Whole lives of a login against running servers, and what those tests share: `life.world`."""
