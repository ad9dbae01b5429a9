import asyncio

from ppio_sandbox.agent_runtime.client import AgentRuntimeClient


async def main() -> None:
    async with AgentRuntimeClient() as client:
        session = await client.create_session("notebook")
        await session.invoke("buy milk")
        await session.pause()  # frozen: no CPU, memory kept
        await session.resume()
        async for line in session.invoke("call Ada", stream=True):
            print(line, end="")
        await session.close()


asyncio.run(main())
