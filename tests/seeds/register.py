"""What each Python block of the documents is: `document:line` of its fence to its kind."""

from __future__ import annotations

from seeds.gateway_register import GATEWAY
from seeds.kinds import App, Fragment, Kind, Listing, Play, Program, Server, Tree

RUNTIME = "ppio_sandbox.agent_runtime"
OLDER = "ppio_agent_runtime"
DJANGO = "from seeds.hosts import ask_django\n"
FINAL_WINS = "001 wins; the argument is given by its name"
TYPED_ANSWER = "row 7"
HEADER = "from fastapi import Header  # the sample imports all of FastAPI but this"
FASTAPI = "from seeds.hosts import ask\n"

TEMPLATES = {
    "your-agent-template-id": "answering",
    "template-id": "answering",
    "your-template-id": "answering",
    "chat-agent-v1": "answering",
    "data-processor": "answering",
    "batch-agent": "answering",
    "customer-service": "answering",
    "customer-service-agent": "answering",
    "default-agent": "answering",
    "data-analysis-agent-v1.0": "answering",
    "conversation-agent-v2.0": "answering",
    "data-processing-agent": "answering",
    "agent-template-123": "answering",
    "writing-agent": "telling",
    "creative-writing-agent": "telling",
    "streaming-agent-456": "telling",
    "failing-agent": "failing",
}
"""Names that samples call, each with the agent of `agents/` that is deployed under it."""

README: dict[str, Kind] = {
    "000:20": Program((Play("", ("answer 1 to Hello, world!",)),), ("your-agent-template-id",)),
    "000:35": Program(
        (Play("print(response1.result, response2.result)", ("answer 1 to First question answer 2 to Follow-up question",)),),
        ("template-id",),
    ),
    "000:50": Program((Play("print(auth.validate_credentials(), auth.api_key == AuthManager().api_key)", ("True True",)),)),
    "000:63": Program(
        (Play("print([t.name for t in ai_templates], template.name)", ("'data-analysis-agent-v1.0'", "] template-id")),),
        ("template-id", "data-analysis-agent-v1.0"),
    ),
    "000:99": Program((Play("", ("结果: answer 1 to 分析这个数据", "耗时: ")),), ("your-template-id",)),
    "000:124": Program((Play("await session_example()", ("A: answer 1 to 你好", "A: answer 3 to 帮我写代码")),), ("chat-agent-v1",)),
    "000:144": Program((Play("await streaming_example()", ("Once upon a time: 写一个科幻故事 The end.",)),), ("writing-agent",)),
    "000:158": Program((Play("await lifecycle_example()\nprint('done')", ("done",)),), ("data-processor",)),
    "000:182": Program(
        (
            Play("print(response.result)", ("answer 1 to Hello",)),
            Play("", ("模板不存在",), before="template_id = 'no-such-template'"),
            Play("", ("调用失败: ", "Hello"), before="template_id = 'failing-agent'"),
            Play("", ("认证失败",), before="client = AgentRuntimeClient(api_key='sk-' + '0' * 40)"),
        ),
        ("template-id", "failing-agent"),
    ),
    "000:205": Program((Play("print(client.config.max_connections, client.timeout)", ("200 300",)),)),
    "000:218": Program(
        (
            Play(
                "print([r.result for r in await batch_process(['a', 'b', 'c'])])", ("['answer 1 to a', 'answer 1 to b', 'answer 1 to c']",)
            ),
        ),
        ("batch-agent",),
    ),
    "000:242": Program(
        (
            Play("print((await robust_call(template_id, request)).result)", ("answer 1 to Hello",)),
            Play(
                "import os, time\n"
                "os.environ['PPIO_API_URL'] = 'http://127.0.0.1:9'\n"
                "began = time.monotonic()\n"
                "try:\n    await robust_call(template_id, request, max_retries=2)\n"
                "except NetworkError:\n    print('gave up after a pause:', time.monotonic() - began > 1)",
                ("gave up after a pause: True",),
            ),
        ),
        ("template-id",),
    ),
    "000:258": Program(
        (Play(DJANGO + "print((await ask_django(AgentView, data={'query': 'Hi'})).text)", ('{"result": "answer 1 to Hi"}',)),),
        ("customer-service",),
        note="a page of a real Django site, with a form posted to it",
    ),
    "000:278": Program(
        (Play(FASTAPI + "print((await ask(app, '/chat', json={'message': 'Hi'})).text)", ('{"response":"answer 1 to Hi"}',)),),
        ("default-agent",),
        note="a real FastAPI application",
    ),
}

FINAL_LISTINGS: dict[str, Kind] = {
    "001:209": Listing(RUNTIME),
    "001:307": Listing(RUNTIME),
    "001:351": Listing(RUNTIME),
    "001:462": Listing(RUNTIME),
    "001:567": Listing(RUNTIME),
    "001:746": Listing(RUNTIME, decided={"SandboxSession.invoke": TYPED_ANSWER}),
    "001:902": Listing(RUNTIME),
    "001:949": Listing(RUNTIME),
    "001:1003": Listing(RUNTIME),
    "001:1095": Listing(RUNTIME),
    "001:1147": Listing(RUNTIME),
    "001:1166": Listing(RUNTIME),
}

FINAL: dict[str, Kind] = {
    "001:96": Program(
        (Play("print(AgentRuntimeApp.__name__, RequestContext.__name__, SandboxSession.__name__, Sandbox.__name__)", ("Sandbox",)),)
    ),
    "001:120": Program(
        (
            Play(
                f"import {RUNTIME} as real\n"
                "assert __version__ == real.__version__\n"
                "print([name for name in __all__ if name not in real.__all__ or getattr(real, name) is not globals()[name]])",
                ("[]",),
                before=f"__package__, __spec__ = '{RUNTIME}', None",
            ),
        ),
        note="run inside the package whose `__init__` it shows; the real one exports the same objects",
    ),
    "001:423": Program(
        (
            Play(
                "print(loaded_config == agent_config)",
                ("Agent Name: my-langgraph-agent", "Entrypoint: agent.py", "Memory Limit: 1Gi", "True"),
                before="import pydantic, warnings\nwarnings.simplefilter('ignore', pydantic.PydanticDeprecatedSince20)",
            ),
        ),
        note="row 20: `.dict()` and `.parse_obj()` work, and pydantic's warning of their age is let pass",
    ),
    "001:1214": Server({"query": "Hi"}, "处理查询: Hi, Sandbox: {sandbox_id}", health={"dependencies": {"database": "ok"}}),
    "001:1245": Server({"query": "Hi", "max_tokens": 20}, "完成对 'Hi' 的处理。", streams=True),
    "001:1287": Server(
        {"query": "Hi"},
        "graph of Hi",
        beside=("langgraph.py",),
        note="`from langgraph import StateGraph` fits no published langgraph: a file of that name with such a class lies beside the agent",
    ),
    "001:1333": Program((Play("", ("分析结果: answer 1 to 请帮我分析这个数据", "处理时间: ")),), ("data-analysis-agent-v1.0",)),
    "001:1367": Program(
        (
            Play(
                "",
                ("作者: tests@example.com", "  - 入口文件: agent.py", "数据分析相关 Agent: 1 个", "聊天相关 Agent: 1 个", "模板存在: True"),
            ),
        ),
        ("data-analysis-agent-v1.0", "chat-agent-v1"),
    ),
    "001:1428": Program(
        (
            Play(
                "await conversation_example()",
                (
                    "Agent: answer 1 to 你好，我是新用户",
                    "会话状态: active",
                    "Agent: answer 4 to 计划书要包含财务预测",
                    "会话已关闭",
                ),
            ),
        ),
        ("conversation-agent-v2.0",),
    ),
    "001:1484": Program(
        (
            Play(
                "await sandbox_lifecycle_example()",
                ("Sandbox 已暂停", "恢复后调用结果: answer 2 to 继续处理数据", "新会话调用结果: answer 1 to 重新开始处理"),
            ),
        ),
        ("data-processing-agent",),
    ),
    "001:1549": Program(
        (Play("await streaming_example()", ("Once upon a time: 写一个关于未来科技的科幻故事 The end.",)),), ("creative-writing-agent",)
    ),
    "001:1570": Program(
        (
            Play(
                DJANGO + "print((await ask_django(ChatView, json={'query': 'Hi'})).json())",
                ("{'success': True, 'result': 'answer 1 to Hi', 'duration': ",),
                before=HEADER,
            ),
            Play(
                FASTAPI + "print((await ask(app, '/chat', json={'query': 'Hi'}, headers={'user-id': 'u-1'})).json())",
                ("{'success': True, 'result': 'answer 1 to Hi', 'duration': ",),
                before=HEADER,
            ),
        ),
        ("customer-service-agent",),
        note="pages of a real Django site and of a real FastAPI application",
    ),
    "001:1647": Program((Play("print(client.config.keepalive_expiry, client.timeout)", ("60.0 300",)),)),
    "001:1663": Program(
        (
            Play(
                "async with client:\n    print([r.result for r in await batch_process(client, ['a', 'b'])])",
                ("['answer 1 to a', 'answer 1 to b']",),
            ),
        ),
        ("batch-agent",),
    ),
    "001:1688": Program(
        (
            Play("print((await robust_agent_call(template_id, {'prompt': 'Hi'})).result)", ("answer 1 to Hi",)),
            Play(
                "try:\n    await robust_agent_call('failing-agent', {'prompt': 'Hi'})\nexcept InvocationError as e:\n    print('raised', e)",
                ("raised", "Hi"),
                before="logging.basicConfig(stream=__import__('sys').stdout)",
            ),
        ),
        ("template-id", "failing-agent"),
    ),
    "001:1727": Server(
        {"query": "Hi"},
        "Hi",
        requires=("structlog",),
        after="if __name__ == '__main__':\n    app.run()\n",
        note="the sample makes an app and does not start it: `app.run()` stands at the end of its file",
    ),
    "001:1842": Program(
        (Play("print(client.auth_manager.api_key == os.environ['PPIO_API_KEY'], SandboxSession.__name__)", ("True SandboxSession",)),)
    ),
    "001:1924": Program(
        (
            Play(
                "print(__all__)",
                ("['AgentRuntimeApp', 'AgentRuntimeClient']",),
                before="__package__, __spec__, __all__ = 'ppio_sandbox', None, []",
            ),
        ),
        note="run inside the package whose `__init__` it shows",
    ),
    "001:1945": Program(
        (Play("print(Sandbox.__name__, AgentRuntimeClient.__name__, AgentRuntimeApp.__name__)", ("Sandbox AgentRuntimeClient",)),)
    ),
}

EARLIER: dict[str, Kind] = {
    "002:59": Tree(RUNTIME),
    "002:76": Listing(OLDER, decided={"PPIOAgentRuntimeApp.__init__(debug)": "row 2", "PPIOAgentRuntimeApp.run(port)": FINAL_WINS}),
    "002:100": Listing(OLDER, owner="PPIOAgentRuntimeApp"),
    "002:108": Listing(OLDER, owner="PPIOAgentRuntimeApp"),
    "002:134": Fragment(
        "a private method whose body is three comments; the server checks size and form of a request itself, "
        "and who may call is the ingress' to decide"
    ),
    "002:144": Listing(OLDER),
    "002:154": Listing(OLDER),
    "002:170": Listing(
        OLDER, decided={"AgentMetadata.author": "row 4", "AgentMetadata.created_at": "row 4", "InvocationRequest.session_id": "row 5"}
    ),
    "002:202": Tree(RUNTIME),
    "002:216": Listing(
        f"{OLDER}.client",
        decided={"AgentRuntimeClient.__init__(base_url)": FINAL_WINS, "AgentRuntimeClient.__init__(timeout)": FINAL_WINS},
    ),
    "002:290": Listing(
        f"{OLDER}.client", decided={f"SandboxSession.__init__({name})": "row 17" for name in ("template_id", "sandbox", "client")}
    ),
    "002:352": Listing(f"{OLDER}.client"),
    "002:384": Listing(f"{OLDER}.client"),
    "002:425": Listing(f"{OLDER}.client", decided={"ClientConfig.enable_cache": "row 13"}),
    "002:465": Listing(f"{OLDER}.client"),
    "002:496": Server({"query": "Hi"}, "processed Hi", health={"dependencies": {"database": "ok"}}),
    "002:529": Program(
        (
            Play(
                "answer = await AgentService().process_user_request('u-1', 'Hi')\nprint(answer)",
                (
                    "Agent 响应: answer 1 to 请帮我分析这个数据",
                    "第 3 轮响应: answer 3 to 这是第 3 轮对话",
                    "流式内容: Once upon a time",
                    "answer 1 to Hi",
                ),
            ),
        ),
        ("agent-template-123", "streaming-agent-456", "customer-service-agent"),
    ),
    "002:649": Program(
        (Play("print(PPIOAgentRuntimeApp.__name__, AgentRuntimeClient.__name__)", ("PPIOAgentRuntimeApp AgentRuntimeClient",)),)
    ),
}

AGENT_OF_THE_READER = "the reader's `self.agent` is a ReActAgent with the model `main`"
AGENTSCOPE: dict[str, Kind] = {
    "003:35": App(),
    "003:83": App(),
    "003:134": App("the configuration has the second model, `assistant`, that it uses"),
    "003:179": App(AGENT_OF_THE_READER),
    "003:205": App("the reader's `init_new_session` notes the session's id"),
    "003:223": App(AGENT_OF_THE_READER),
    "003:241": App(),
    "003:271": App(),
}

REGISTER: dict[str, Kind] = dict(
    sorted((README | FINAL_LISTINGS | FINAL | EARLIER | AGENTSCOPE | GATEWAY).items(), key=lambda item: (item[0][:3], int(item[0][4:])))
)
