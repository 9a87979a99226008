"""A model server that speaks TGI, OpenAI and the plain contract."""
