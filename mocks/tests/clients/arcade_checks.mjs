// What the official `@arcadeai/arcadejs` must find at the Arcade mock: `node arcade_checks.mjs FACT`, where it is installed.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { all, check as checked, fails, main } from './suite.mjs';

const arcade = createRequire(process.cwd() + '/')('@arcadeai/arcadejs');

/** Registers a check: `run` gets the address of the Arcade mock. */
function check(name, run, script) {
  checked(name, ({ arcade }) => run(arcade), script);
}

function connect(url, options = {}) {
  return new arcade.Arcade({ baseURL: url, apiKey: 'arc_test', maxRetries: 0, ...options });
}

/** A request without the client. */
async function ask(url, method, path, body) {
  const response = await fetch(url + path, {
    method,
    headers: { authorization: 'arc_test', 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? null : JSON.parse(text) };
}

async function requests(url, path) {
  const journal = await ask(url, 'GET', '/_mock/requests');
  return journal.body.requests.filter((request) => request.path === path);
}

async function queue(url, ...rules) {
  assert.equal((await ask(url, 'POST', '/_mock/script', { rules })).status, 200);
}

async function settle(url, authorization, how = 'complete') {
  const reply = await ask(url, 'POST', `/_mock/authorizations/${authorization.id}/${how}`, {});
  assert.equal(reply.status, 200);
}

function add(client) {
  return client.tools.execute({ tool_name: 'Math.Add', input: { a: 1, b: 2 } });
}

function post(client, user) {
  return client.tools.execute({ tool_name: 'Slack.Post', input: { text: 'hi' }, user_id: user });
}

function slack(time) {
  const parameters = [{ name: 'text', required: true, value_schema: { val_type: 'string' } }];
  const authorization = { provider_id: 'slack', scopes: ['chat:write'] };
  const tool = { name: 'Slack.Post', description: 'Posts', input: { parameters }, result: 'posted', authorization };
  return { arcade: { authorization_time: time, tools: [tool] } };
}

check('a key without bearer is accepted', async (url) => {
  assert.notEqual((await connect(url).tools.list()).items.length, 0);
  const [request] = await requests(url, '/v1/tools');
  assert.equal(request.headers.authorization, 'arc_test');
  assert.equal(request.headers['user-agent'], 'Arcade/JS 2.4.1');
});

check('a wrong key is 401 and not retried', async (url) => {
  const client = connect(url, { apiKey: 'arc_invalid', maxRetries: 2 });
  const error = await fails(arcade.AuthenticationError, client.tools.list());
  assert.deepEqual(Object.keys(error.error).sort(), ['message', 'name']);
  assert.equal((await requests(url, '/v1/tools')).length, 1);
  assert.equal((await client.health.check()).healthy, true);
});

check('the client walks through every page', async (url) => {
  const client = connect(url);
  const everything = (await client.tools.list()).items.map((tool) => tool.fully_qualified_name);
  assert.ok(everything.includes('Math.Add@1.0.0'), everything.join());
  const walked = (await all(client.tools.list({ limit: 1 }))).map((tool) => tool.fully_qualified_name);
  assert.deepEqual(walked, everything);
  assert.equal((await requests(url, '/v1/tools')).length, everything.length + 1);
});

check('formats are included when asked for, and a tool has several names', async (url) => {
  const client = connect(url);
  const tool = await client.tools.get('Math.Add@1.0.0', { include_format: ['anthropic', 'openai'] });
  const { anthropic, openai } = tool.formatted_schema;
  assert.deepEqual([anthropic.name, openai.type, openai.function.name], ['Math_Add', 'function', 'Math_Add']);
  assert.deepEqual(anthropic.input_schema.required.sort(), ['a', 'b']);
  assert.deepEqual(await client.tools.formatted.get('Math.Add', { format: 'anthropic' }), anthropic);
  const formatted = await all(client.tools.formatted.list({ format: 'openai', limit: 2 }));
  assert.ok(formatted.some((item) => item.function.name === 'Math_Add'));
  assert.deepEqual(await client.tools.get('math_add'), await client.tools.get('Math.Add'));
});

check('metadata says what a tool does, and filters', async (url) => {
  const client = connect(url);
  const tools = new Map((await client.tools.list()).items.map((tool) => [tool.qualified_name, tool]));
  assert.equal(tools.get('Math.Add').metadata.behavior.read_only, true);
  assert.equal(tools.get('Math.Add').metadata.behavior.idempotent, true);
  assert.equal(tools.get('Github.CreateIssue').metadata.behavior.read_only, false);
  const filter = JSON.stringify({ read_only: true });
  const names = (await all(client.tools.list({ filter }))).map((tool) => tool.qualified_name);
  const expected = [...tools.values()].filter((tool) => tool.metadata.behavior.read_only);
  assert.deepEqual(names, expected.map((tool) => tool.qualified_name));
});

check('a result has the documented shape', async (url) => {
  const result = await add(connect(url));
  assert.ok(result.id.startsWith('te_') && result.execution_id.startsWith('tc_'), JSON.stringify(result));
  assert.deepEqual([result.execution_type, result.status, result.success], ['immediate', 'success', true]);
  assert.equal(typeof result.duration, 'number');
  assert.ok(!Number.isNaN(Date.parse(result.finished_at)), result.finished_at);
  assert.equal(result.output.value, 3);
});

check('a division by zero is no success and not retried', async (url) => {
  const client = connect(url, { maxRetries: 2 });
  const result = await client.tools.execute({ tool_name: 'Math.Divide', input: { a: 1, b: 0 } });
  assert.deepEqual([result.success, result.status, result.output.value], [false, 'failed', undefined]);
  assert.equal(typeof result.output.error.message, 'string');
  assert.equal(typeof result.output.error.can_retry, 'boolean');
  assert.match(result.output.error.kind, /^TOOL_RUNTIME_/);
  assert.equal((await requests(url, '/v1/tools/execute')).length, 1);
});

check(
  'a user executes once the authorization is completed, and no other user does',
  async (url) => {
    const client = connect(url, { maxRetries: 2 });
    const error = await fails(arcade.PermissionDeniedError, post(client, 'ann'));
    assert.deepEqual(error.error, { name: 'tool_authorization_required', message: 'authorization required' });
    const pending = await client.tools.authorize({ tool_name: 'Slack.Post', user_id: 'ann' });
    assert.deepEqual([pending.status, pending.provider_id, pending.scopes], ['pending', 'slack', ['chat:write']]);
    assert.match(pending.url, /^https?:/);
    const completed = await client.auth.waitForCompletion(pending);
    assert.deepEqual([completed.status, completed.id, completed.user_id], ['completed', pending.id, 'ann']);
    assert.notEqual(completed.context.token ?? '', '');
    assert.equal((await requests(url, '/v1/auth/status')).length, 1);
    assert.equal((await post(client, 'ann')).output.value, 'posted');
    await fails(arcade.PermissionDeniedError, post(client, 'bob'));
    assert.equal((await client.tools.authorize({ tool_name: 'Slack.Post', user_id: 'ann' })).status, 'completed');
  },
  slack('300ms'),
);

check(
  'auth start is settled by the control plane',
  async (url) => {
    const client = connect(url);
    const started = await client.auth.start('ann', 'google', { scopes: ['mail'] });
    assert.deepEqual([started.status, started.provider_id, started.scopes], ['pending', 'google', ['mail']]);
    assert.equal((await client.auth.status({ id: started.id })).status, 'pending');
    await settle(url, started);
    assert.equal((await client.auth.waitForCompletion(started.id)).status, 'completed');
    const other = await client.auth.start('bob', 'google', { scopes: ['mail'] });
    await settle(url, other, 'fail');
    assert.equal((await client.auth.status({ id: other.id })).status, 'failed');
  },
  slack('60s'),
);

check(
  'a user that is another is no user to confirm',
  async (url) => {
    const client = connect(url);
    const started = await client.auth.start('ann', 'google');
    const flow_id = new URL(started.url).searchParams.get('flow_id') ?? started.id;
    const error = await fails(arcade.BadRequestError, client.auth.confirmUser({ flow_id, user_id: 'bob' }));
    assert.deepEqual([error.error.code, error.error.error], [400, 'user_mismatch']);
    const other = await client.auth.start('bob', 'google');
    const confirmed = await client.auth.confirmUser({
      flow_id: new URL(other.url).searchParams.get('flow_id') ?? other.id,
      user_id: 'bob',
    });
    assert.equal(confirmed.auth_id, other.id);
  },
  slack('60s'),
);

check('a scheduled execution waits for its time', async (url) => {
  const client = connect(url);
  const input = { a: 1, b: 2 };
  const result = await client.tools.execute({ tool_name: 'Math.Add', input, run_at: '2099-01-01T00:00:00' });
  assert.deepEqual([result.execution_type, result.success], ['scheduled', true]);
  assert.equal(result.output ?? null, null);
  const [listed, ...others] = await all(client.tools.scheduled.list());
  assert.deepEqual(others, []);
  const found = await client.tools.scheduled.get(listed.id);
  assert.deepEqual([found.input, found.attempts], [input, []]);
});

/** Whether the token of a request to a worker is signed with this secret, and says what it must. */
function trusted(request, secret) {
  const [head, claims, signature] = (request.headers.authorization ?? '').replace(/^Bearer /, '').split('.');
  if (createHmac('sha256', secret).update(`${head}.${claims}`).digest('base64url') !== signature) return false;
  const { aud, ver } = JSON.parse(Buffer.from(claims, 'base64url'));
  return aud === 'worker' && ver === '1';
}

/** A worker of one tool, `Demo.Say`, which shouts its `text`. */
async function startWorker(secret, invocations) {
  const value_schema = { val_type: 'string', inner_val_type: null, enum: null };
  const tool = {
    name: 'Say',
    fully_qualified_name: 'Demo.Say',
    description: 'Says it',
    toolkit: { name: 'Demo', description: null, version: '2.1.0' },
    input: { parameters: [{ name: 'text', required: true, description: null, value_schema, inferrable: true }] },
    output: { description: null, available_modes: ['value', 'error'], value_schema },
    requirements: { authorization: null, secrets: null, metadata: null },
    deprecation_message: null,
    metadata: null,
  };
  const server = createServer(async (request, response) => {
    const reply = (status, body) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    let text = '';
    for await (const chunk of request) text += chunk;
    const route = `${request.method} ${request.url}`;
    if (route === 'GET /worker/health') return reply(200, { status: 'ok', tool_count: '1' });
    if (!trusted(request, secret)) return reply(401, { detail: 'Invalid token. Error: Signature verification failed' });
    if (route === 'GET /worker/tools') return reply(200, [tool]);
    if (route !== 'POST /worker/tools/invoke') return reply(404, { detail: 'Not Found' });
    const { execution_id, ...invocation } = JSON.parse(text);
    invocations.push(invocation);
    const output = { value: invocation.inputs.text.toUpperCase(), logs: null, error: null, requires_authorization: null };
    return reply(200, { execution_id, finished_at: '2026-11-23T00:52:29.375878', duration: 6.6, success: true, output });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

check('the tools of a worker become tools', async (url) => {
  const client = connect(url);
  const invocations = [];
  const server = await startWorker('s3cret', invocations);
  const http = { uri: `http://127.0.0.1:${server.address().port}`, secret: 's3cret', retry: 0, timeout: 5 };
  try {
    assert.equal((await client.workers.create({ id: 'demo', http }).asResponse()).status, 201);
    assert.equal((await client.workers.create({ id: 'liar', http: { ...http, secret: 'wrong' } })).enabled, true);
    assert.equal((await client.workers.health('demo')).healthy, true);
    assert.equal((await client.workers.health('liar')).healthy, false);
    assert.deepEqual((await all(client.workers.list())).map((worker) => worker.id).sort(), ['demo', 'liar']);
    assert.equal((await client.workers.tools('demo')).items[0].fully_qualified_name, 'Demo.Say@2.1.0');
    const result = await client.tools.execute({ tool_name: 'Demo.Say', input: { text: 'hi' }, user_id: 'ann' });
    assert.equal(result.output.value, 'HI');
    assert.deepEqual(invocations[0].tool, { name: 'Say', toolkit: 'Demo', version: '2.1.0' });
    assert.equal(invocations[0].context.user_id, 'ann');
    assert.equal((await client.workers.delete('demo').asResponse()).status, 204);
    await fails(arcade.NotFoundError, client.workers.get('demo'));
  } finally {
    server.close();
    server.closeAllConnections();
  }
});

check('every status is the error of its class', async (url) => {
  const classes = {
    400: arcade.BadRequestError,
    401: arcade.AuthenticationError,
    403: arcade.PermissionDeniedError,
    404: arcade.NotFoundError,
    409: arcade.ConflictError,
    415: arcade.APIError,
    422: arcade.UnprocessableEntityError,
    429: arcade.RateLimitError,
    500: arcade.InternalServerError,
    503: arcade.InternalServerError,
  };
  const client = connect(url);
  const match = { method: 'POST', path: '/v1/tools/execute' };
  for (const [status, kind] of Object.entries(classes)) {
    const body = { name: 'scripted', message: `scripted ${status}` };
    await queue(url, { match, times: 1, response: { status: Number(status), headers: {}, body } });
    const error = await fails(kind, add(client));
    assert.deepEqual([error.status, error.error], [Number(status), body]);
  }
  assert.equal((await add(client)).success, true);
});

check('what may pass is retried and counted', async (url) => {
  const match = { method: 'POST', path: '/v1/tools/execute' };
  const response = { status: 503, headers: { 'retry-after-ms': '1' }, body: { name: 'down', message: 'down' } };
  await queue(url, { match, times: 2, response });
  assert.equal((await add(connect(url, { maxRetries: 2 }))).success, true);
  const counts = (await requests(url, match.path)).map((request) => request.headers['x-stainless-retry-count']);
  assert.deepEqual(counts, ['0', '1', '2']);
  const ledger = (await ask(url, 'GET', '/_mock/ledger')).body;
  assert.deepEqual(ledger.lines, [{ tool: 'Math.Add', success: true, executions: 1 }]);
});

check('a secret is created, replaced, listed and deleted', async (url) => {
  const { secrets } = connect(url).admin;
  const created = await secrets.create('API_KEY', { value: 'hush', description: 'first' });
  assert.equal(created.key, 'API_KEY');
  assert.equal((await secrets.create('API_KEY', { value: 'hush', description: 'second' })).id, created.id);
  const [secret, ...others] = (await secrets.list()).items;
  assert.deepEqual([secret.id, secret.description, others], [created.id, 'second', []]);
  assert.equal((await secrets.delete(secret.id).asResponse()).status, 204);
  assert.deepEqual((await secrets.list()).items, []);
});

check('a chat is answered in the shape of OpenAI', async (url) => {
  const messages = [{ role: 'user', content: 'hello' }];
  const chat = await connect(url).chat.completions.create({ model: 'gpt-4o', messages });
  assert.deepEqual([chat.object, chat.model, chat.choices.length], ['chat.completion', 'gpt-4o', 1]);
  const { message, finish_reason } = chat.choices[0];
  assert.deepEqual([message.role, finish_reason], ['assistant', 'stop']);
  assert.ok(message.content);
  assert.equal(chat.usage.total_tokens, chat.usage.prompt_tokens + chat.usage.completion_tokens);
});

await main(process.argv[2]);
