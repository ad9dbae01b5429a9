from ppio_sandbox.agent_runtime.client import InvocationError, InvocationRequest, SyncAgentRuntimeClient

with SyncAgentRuntimeClient(timeout=60) as client, client.create_session("notebook", timeout_seconds=600) as session:
    session.invoke("buy milk")
    request = InvocationRequest(prompt="call Ada", request_id="order-66", timeout=10)
    try:
        print(session.invoke(request)["result"], end="")
    except InvocationError as error:
        print(error.request_id, error.exit_code, error.output)
