import os

from gateway_sdk import GatewayClient, PrefabCall

with GatewayClient(api_key=os.environ["PPIO_API_KEY"]) as client:
    job = client.start_job([PrefabCall("translator", "^1", "translate", {"text": "Hello, world!", "target": "zh"})])
    for event in client.job_events(job.job_id):
        print(event.number, event.call, event.type)
    for result in client.get_job(job.job_id).results or []:
        print(result.get("translation"))
