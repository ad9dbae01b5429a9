"""What AgentScope's own classes do under `agentscope.runtime`, as a program of checks: the first argument names one."""

import asyncio
import sys

from agentscope.agent import AgentBase, ReActAgent
from agentscope.memory import InMemoryMemory
from agentscope.message import Msg
from agentscope.runtime import runtime
from agentscope.tool import Toolkit, ToolResponse


def user(text):
    return Msg("user", text, "user")


async def text_of(stream):
    return "".join([chunk.content if isinstance(chunk.content, str) else "" async for chunk in stream])


async def models():
    assert list(runtime.models) == runtime.models.keys() == ["main", "quiet"]
    assert ("main" in runtime.models, "nope" in runtime.models, len(runtime.models)) == (True, False, 2)
    assert runtime.models.main.model_name == runtime.models["main"].model_name == "gpt-4"
    assert bool(runtime.models.main.stream) is True and runtime.models.main.stream == True  # noqa: E712
    assert not runtime.models.quiet.stream
    for ask in (lambda: runtime.models.nope, lambda: runtime.models["nope"]):
        try:
            ask()
        except (AttributeError, KeyError) as error:
            assert "there are: main, quiet" in str(error), error
        else:
            raise AssertionError
    answer = await runtime.models.main([user("hi")])
    assert answer.text == "You said: hi" and answer.content[0]["text"] == answer.text
    assert (await runtime.models.main(user("hi"))).text == "You said: hi"
    dicts = await runtime.models.main([{"role": "user", "content": "hi"}])
    assert [chunk.content[0]["text"] async for chunk in dicts][-1] == "You said: hi"
    whole = await runtime.models.quiet([{"role": "user", "content": "hi"}])
    assert whole.content[0]["text"] == "You said: hi"
    chunks = [chunk async for chunk in runtime.models.main.stream([user("one two")])]
    assert [chunk.text for chunk in chunks] == ["You ", "said: ", "one ", "two"]
    assert chunks[-1].content[0]["text"] == "You said: one two"
    assert [chunk.text async for chunk in runtime.models.quiet.stream([{"role": "user", "content": "x"}])] == ["You ", "said: ", "x"]
    one, two = runtime.models.main, runtime.models.main
    one.stream = False
    assert (bool(one.stream), bool(two.stream), one.client is two.client) == (False, True, True)


async def agents():
    agent = ReActAgent("Friday", "Be nice.", runtime.models.main, toolkit=runtime.tools, memory=InMemoryMemory())
    other = ReActAgent(name="Other", sys_prompt="", model=runtime.models.main, toolkit=runtime.tools)
    assert type(agent.formatter).__name__ == "OpenAIChatFormatter"
    assert agent.toolkit is not runtime.tools and agent.toolkit is not other.toolkit

    def greet(name: str) -> ToolResponse:
        """Greet.

        Args:
            name (str): Whom.
        """
        return ToolResponse(content=[{"type": "text", "text": f"hello {name}"}])

    agent.toolkit.register_tool_function(greet)
    assert "greet" in agent.toolkit.tools and "greet" not in other.toolkit.tools and "greet" not in runtime.tools.tools
    chunks = [chunk async for chunk in agent.stream(user('use greet {"name": "Ada"}'))]
    kinds = [(c.role, c.content if isinstance(c.content, str) else c.content[0]["type"]) for c in chunks]
    assert kinds == [
        ("assistant", "Let "),
        ("assistant", "me "),
        ("assistant", "see. "),
        ("assistant", "tool_use"),
        ("system", "tool_result"),
        ("assistant", "The "),
        ("assistant", "tool "),
        ("assistant", "said: "),
        ("assistant", "hello "),
        ("assistant", "Ada"),
    ], kinds
    assert chunks[3].content[0]["input"] == {"name": "Ada"}
    assert len({c.metadata["message_id"] for c in chunks}) == 3
    own = Toolkit()
    assert ReActAgent("x", "", runtime.models.main, toolkit=own).toolkit is own
    assert (await agent(user("hi"))).get_text_content() == "You said: hi"


class Silent(AgentBase):
    """Prints nothing, or raises."""

    async def reply(self, msg):
        if msg.content == "raise":
            await self.print(Msg("Silent", "before", "assistant"))
            raise LookupError("the agent's own words")
        return Msg("Silent", f"reply to {msg.content}", "assistant")


async def others():
    agent = Silent()
    assert await text_of(agent.stream(user("x"))) == "reply to x"
    seen = []
    try:
        async for chunk in agent.stream(user("raise")):
            seen.append(chunk.content)
    except LookupError as error:
        assert str(error) == "the agent's own words"
    else:
        raise AssertionError
    assert seen == ["before"]
    assert await text_of(agent.stream(user("again"))) == "reply to again"


async def crowd():
    """Twenty sessions on one agent at once, and twenty agents."""

    class Shared(AgentBase):
        async def reply(self, msg):
            growing = Msg("Shared", "", "assistant")
            for number in range(20):
                growing.content += f"{msg.content}.{number} "
                await self.print(growing, number == 19)
                await asyncio.sleep(0.001)
            return growing

    agent = Shared()
    texts = await asyncio.gather(*[text_of(agent.stream(user(f"s{n}"))) for n in range(20)])
    assert texts == ["".join(f"s{n}.{i} " for i in range(20)) for n in range(20)]
    agents = [ReActAgent(f"a{n}", "", runtime.models.main, memory=InMemoryMemory()) for n in range(20)]
    texts = await asyncio.gather(*[text_of(agent.stream(user(f"word{n} " * 5))) for n, agent in enumerate(agents)])
    assert [text.split() for text in texts] == [["You", "said:"] + [f"word{n}"] * 5 for n in range(20)]
    inner = []
    stream = agent.stream(user("left"))
    inner.append((await anext(stream)).content)
    await stream.aclose()
    assert await text_of(agent.stream(user("x"))) == "".join(f"x.{i} " for i in range(20)), "a stream that was left is over"
    tasks = asyncio.all_tasks()
    assert len(tasks) <= 6, tasks


async def interrupts():
    agent = ReActAgent("Friday", "", runtime.models.main, memory=InMemoryMemory())
    task = asyncio.create_task(agent(user("word " * 200)))
    await asyncio.sleep(0.3)
    await agent.interrupt()
    assert "interrupted me" in (await task).get_text_content()
    agent = ReActAgent("Friday", "", runtime.models.main, memory=InMemoryMemory())
    try:
        async with asyncio.timeout(0.3):
            await agent(user("word " * 200))
    except TimeoutError:
        pass
    else:
        raise AssertionError("a timeout was taken for an interrupt")
    assert all("interrupted me" not in str(msg.content) for msg in await agent.memory.get_memory())
    task = asyncio.create_task(agent(user("word " * 200)))
    await asyncio.sleep(0.3)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return
    raise AssertionError("a cancellation was swallowed")


async def state():
    agent = ReActAgent("Friday", "", runtime.models.main, toolkit=runtime.tools, memory=InMemoryMemory())
    assert await runtime.session.load_session_state("script", memory=agent.memory, toolkit=agent.toolkit) is None
    await agent(user("hi"))
    await runtime.session.save_session_state("script", memory=agent.memory, toolkit=agent.toolkit)
    fresh = InMemoryMemory()
    state = await runtime.session.load_session_state("script", memory=fresh)
    assert sorted(state) == ["memory", "toolkit"]
    assert [m.to_dict() for m in await fresh.get_memory()] == [m.to_dict() for m in await agent.memory.get_memory()]

    class Picky:
        def state_dict(self):
            return {"a": 1}

        def load_state_dict(self, state):
            raise KeyError("no such key")

    await runtime.session.save_session_state("picky", memory=agent.memory, picky=Picky())
    kept = InMemoryMemory()
    try:
        await runtime.session.load_session_state("picky", memory=kept, picky=Picky())
    except Exception as error:
        assert "does not fit" in str(error), error
    assert await kept.size() == 0, "all or none"


async def main():
    assert not runtime.is_initialized
    try:
        runtime.models
    except Exception as error:
        assert "not initialized" in str(error)
    await runtime.initialize()
    assert runtime.is_initialized and runtime.config.models["main"].model == "gpt-4" and runtime.app is None
    try:
        await globals()[sys.argv[1]]()
    finally:
        await runtime.shutdown()
    assert not runtime.is_initialized
    await runtime.initialize(config_path="agentapp.yaml", project_path=".")
    await runtime.shutdown()
    print("kept", sys.argv[1])


asyncio.run(main())
