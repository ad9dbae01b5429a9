"""From a request to the messages of an answer; knows neither AgentScope nor HTTP."""
