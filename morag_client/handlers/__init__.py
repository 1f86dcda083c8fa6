"""The user's functions: the registry behind `@on`, what they are given, and how they are called."""
