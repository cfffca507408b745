"""The only definition of the version; pyproject.toml and the CHANGELOG's newest entry agree with it."""

__version__ = "0.1.0"
