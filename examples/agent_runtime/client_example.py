"""Call a deployed agent in each way that there is: `python client_example.py [template]` (`PPIO_API_KEY` and `PPIO_API_URL` say where)."""

from __future__ import annotations

import asyncio
import sys

from ppio_sandbox.agent_runtime.client import AgentClientError, AgentRuntimeClient, TemplateNotFoundError


async def main(template: str) -> None:
    async with AgentRuntimeClient() as client:
        for found in await client.list_templates():
            print(f"template {found.name} {found.version}: {found.description or 'no description'}")

        response = await client.invoke_agent(template, "hello")
        print(f"one call, in a session of its own: {response.result} ({response.duration:.3f} s)")

        async with await client.create_session(template, timeout_seconds=120) as session:
            await session.invoke("first")
            await session.pause()
            await session.resume()
            print(f"the second call of session {session.sandbox_id}: {(await session.invoke('second'))['result']}")
            print("streamed: ", end="")
            async for chunk in session.invoke("third", stream=True):
                print(chunk, end="", flush=True)
            print()


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "hello"))
    except TemplateNotFoundError as error:
        sys.exit(f"{error}\nDeploy it first: ppio-sandbox-cli agent deploy ../hello")
    except AgentClientError as error:
        sys.exit(f"{type(error).__name__}: {error}")
