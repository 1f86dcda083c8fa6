"""The ASGI application that receives MoRAG's webhooks: the one place where the parts are wired together."""
