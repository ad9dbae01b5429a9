import os

from gateway_sdk import GatewayClient

with GatewayClient(api_key=os.environ["PPIO_API_KEY"]) as client:
    result = client.run("translator", "^1", "translate", {"text": "Hello, world!", "target": "zh"})
    print(result.get("translation"))
