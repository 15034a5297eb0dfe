"""Clients of model services, shared by embedders, chat models and rerankers."""
