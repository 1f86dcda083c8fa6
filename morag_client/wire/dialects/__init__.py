"""The eight shapes of a webhook's body, each in a module of its own, and which of them a body has."""
