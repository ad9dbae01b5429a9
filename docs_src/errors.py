import asyncio

from ppio_sandbox.agent_runtime.client import (
    AgentClientError,
    AgentRuntimeClient,
    InvocationError,
    NetworkError,
    RateLimitError,
    TemplateNotFoundError,
)


async def main() -> None:
    async with AgentRuntimeClient() as client:
        try:
            print((await client.invoke_agent("notebook", "a note")).result)
        except TemplateNotFoundError:
            print("deploy it first")
        except InvocationError as error:  # the agent's fault
            print(error, error.exit_code, error.output)
        except RateLimitError as error:  # too much at once
            print("come back in", error.retry_after, "seconds")
        except NetworkError:  # no whole answer arrived
            print("try again")
        except AgentClientError as error:  # everything else
            print(error.error_code, error.request_id)


asyncio.run(main())
