import os

from gateway_sdk import GatewayClient

messages = [{"role": "user", "content": "Hello"}]
with GatewayClient(api_key=os.environ["PPIO_API_KEY"]) as client:
    for event in client.run("llm-client", "1.0.0", "chat", {"messages": messages}, stream=True):
        if event.type == "content":
            print(event.data, end="", flush=True)
        elif event.type == "error":
            raise event.exception() or RuntimeError(event.data)
