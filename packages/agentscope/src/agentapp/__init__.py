"""AgentScope apps on Sandyard: in preparation, exports nothing yet."""

__all__: list[str] = []
