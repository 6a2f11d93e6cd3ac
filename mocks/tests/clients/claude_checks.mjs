// What the official `@anthropic-ai/sdk` sees of the Claude mock: `node claude_checks.mjs FACT`, where it is installed.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { all, check, fails, main } from './suite.mjs';

const require = createRequire(process.cwd() + '/');
const sdk = require('@anthropic-ai/sdk');
const { betaTool } = require('@anthropic-ai/sdk/helpers/beta/json-schema');
const { VERSION } = require('@anthropic-ai/sdk/version');

const KEY = 'sk-ant-alpha-0001';
const MODEL = 'claude-sonnet-4-6';
const QUESTION = { model: MODEL, max_tokens: 1000, messages: [{ role: 'user', content: 'Hello' }] };
const SCHEMA = {
  type: 'object',
  properties: { city: { type: 'string' }, days: { type: 'integer', minimum: 3 }, unit: { enum: ['C', 'F'] } },
  required: ['city', 'days', 'unit'],
};
const TOOL = { name: 'Weather', description: 'Of a city', input_schema: SCHEMA };
const FORCED = { ...QUESTION, tools: [TOOL], tool_choice: { type: 'tool', name: 'Weather' } };
const LONG = 'You answer questions about companies. '.repeat(250);
const EPHEMERAL = { type: 'ephemeral' };
const OVERLOADED = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } };

function connect(url, options = {}) {
  return new sdk.Anthropic({ baseURL: url, apiKey: KEY, maxRetries: 0, ...options });
}

async function control(url, path, body) {
  const init = body ? { method: 'POST', body: JSON.stringify(body) } : {};
  const response = await fetch(url + path, init);
  assert.equal(response.status, 200);
  return response.json();
}

function queue(url, response, times = 1) {
  const match = { method: 'POST', path: '/v1/messages' };
  return control(url, '/_mock/script', { rules: [{ match, times, response }] });
}

async function requests(url) {
  return (await control(url, '/_mock/requests')).requests;
}

async function attempts(url) {
  return (await requests(url)).map((request) => request.headers['x-stainless-retry-count']);
}

async function events(stream) {
  const found = [];
  for await (const event of await stream) found.push(event);
  return found;
}

async function took(promise) {
  const began = performance.now();
  await promise;
  return performance.now() - began;
}

function block(text, control) {
  return { type: 'text', text, ...(control && { cache_control: control }) };
}

function counters({ usage }) {
  return [usage.cache_read_input_tokens, usage.cache_creation_input_tokens, usage.input_tokens];
}

function isInput(input) {
  assert.equal(typeof input.city, 'string');
  assert.ok(Number.isInteger(input.days) && input.days >= 3);
  assert.ok(['C', 'F'].includes(input.unit));
}

async function ended(batches, id) {
  for (let tries = 0; tries < 200; tries += 1) {
    const batch = await batches.retrieve(id);
    if (batch.processing_status === 'ended') return batch;
    await new Promise((wake) => setTimeout(wake, 50));
  }
  assert.fail('the batch does not end');
}

function jobs(...names) {
  return names.map((name) => ({ custom_id: name, params: QUESTION }));
}

check('a message has every field of the api', async ({ claude }) => {
  const { data, response, request_id } = await connect(claude).messages.create(QUESTION).withResponse();
  assert.match(data.id, /^msg_01[0-9A-Za-z]{22}$/);
  assert.deepEqual([data.type, data.role, data.model, data.stop_reason], ['message', 'assistant', MODEL, 'end_turn']);
  assert.deepEqual([data.stop_sequence, data.stop_details], [null, null]);
  assert.equal(data.content[0].type, 'text');
  assert.deepEqual(data.usage.cache_creation, { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 });
  assert.deepEqual([data.usage.service_tier, data.usage.inference_geo], ['standard', 'global']);
  assert.match(request_id, /^req_011/);
  assert.equal(request_id, data._request_id);
  assert.match(response.headers.get('anthropic-organization-id'), /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
});

check('the client sends the headers of its line', async ({ claude }) => {
  await connect(claude).messages.create(QUESTION);
  const [{ headers }] = await requests(claude);
  assert.equal(headers.authorization, `Bearer ${KEY}`);
  assert.equal(headers['x-api-key'], undefined);
  assert.equal(headers['anthropic-version'], '2026-10-21');
  assert.equal(headers['user-agent'], `Anthropic/JS ${VERSION}`);
});

check('a stream gathers the text that a message has', async ({ claude }) => {
  const client = connect(claude);
  let text = '';
  const stream = client.messages.stream(QUESTION).on('text', (delta) => (text += delta));
  const final = await stream.finalMessage();
  const whole = await client.messages.create(QUESTION);
  assert.equal(final.content[0].text, text);
  assert.equal(text, whole.content[0].text);
  assert.deepEqual(final.usage, whole.usage);
  assert.match(stream.request_id, /^req_011/);
});

check('raw events come in their order', async ({ claude }) => {
  const found = await events(connect(claude).messages.create({ ...QUESTION, stream: true }));
  const kinds = found.map((event) => event.type);
  const deltas = kinds.filter((kind) => kind === 'content_block_delta');
  assert.deepEqual(kinds, [
    'message_start',
    'content_block_start',
    ...deltas,
    'content_block_stop',
    'message_delta',
    'message_stop',
  ]);
  const { usage } = found[0].message;
  assert.deepEqual([usage.cache_creation_input_tokens, usage.cache_read_input_tokens], [0, 0]);
  assert.ok(usage.output_tokens < found.at(-2).usage.output_tokens);
});

check('thinking ends with one signature', async ({ claude }) => {
  for (const [model, thinking] of [
    [MODEL, { type: 'enabled', budget_tokens: 1024 }],
    ['claude-opus-5-5', { type: 'adaptive' }],
  ]) {
    const body = { ...QUESTION, model, thinking, max_tokens: 4000 };
    const found = await events(connect(claude).messages.create({ ...body, stream: true }));
    const kinds = found.filter((event) => event.type === 'content_block_delta' && event.index === 0).map((event) => event.delta.type);
    assert.equal(kinds.pop(), 'signature_delta');
    assert.deepEqual([...new Set(kinds)], ['thinking_delta']);
    let thoughts = '';
    const stream = connect(claude).messages.stream(body).on('thinking', (delta) => (thoughts += delta));
    const final = await stream.finalMessage();
    assert.deepEqual(final.content.map((part) => part.type), ['thinking', 'text']);
    assert.equal(final.content[0].thinking, thoughts);
    assert.ok(thoughts && final.content[0].signature);
  }
});

check('a forced call has input that its schema allows', async ({ claude }) => {
  for (const model of ['claude-opus-5', MODEL]) {
    for (const tool_choice of [{ type: 'any' }, FORCED.tool_choice]) {
      const message = await connect(claude).messages.create({ ...FORCED, model, tool_choice });
      const call = message.content.at(-1);
      assert.equal(message.stop_reason, 'tool_use');
      assert.match(call.id, /^toolu_01[0-9A-Za-z]{22}$/);
      isInput(call.input);
    }
  }
});

check('a tool loop goes round in streams', async ({ claude }) => {
  const client = connect(claude);
  const stream = client.messages.stream(FORCED);
  const fragments = [];
  stream.on('inputJson', (fragment) => fragments.push(fragment));
  const first = await stream.finalMessage();
  const call = first.content.at(-1);
  assert.equal(first.stop_reason, 'tool_use');
  assert.equal(fragments[0], '');
  assert.deepEqual(JSON.parse(fragments.join('')), call.input);
  isInput(call.input);
  const result = { type: 'tool_result', tool_use_id: call.id, content: 'sunny' };
  const messages = [...QUESTION.messages, { role: 'assistant', content: first.content }, { role: 'user', content: [result] }];
  const second = await client.messages.stream({ ...QUESTION, tools: [TOOL], messages }).finalMessage();
  assert.equal(second.stop_reason, 'end_turn');
  assert.ok(second.content[0].text);
});

async function runTools(url, more) {
  const inputs = [];
  const run = (input) => inputs.push(input) && 'sunny';
  const tools = [betaTool({ name: 'Weather', description: 'Of a city', inputSchema: SCHEMA, run })];
  const runner = connect(url).beta.messages.toolRunner({ ...FORCED, tools, max_iterations: 2, ...more });
  await runner.runUntilDone();
  inputs.forEach(isInput);
  assert.ok(inputs.length);
}

check('the tool runner goes round', async ({ claude }) => {
  await runTools(claude, { thread: false });
  const [, second] = await requests(claude);
  assert.match(JSON.stringify(second.body.messages.at(-1)), /sunny/);
});

check('the tool runner goes round as it comes', ({ claude }) => runTools(claude));

check('new models refuse to be forced', async ({ claude }) => {
  for (const model of ['claude-opus-5-5', 'claude-sonnet-5-5', 'claude-fable-5-2']) {
    const error = await fails(sdk.BadRequestError, connect(claude).messages.create({ ...FORCED, model }));
    assert.equal(error.type, 'invalid_request_error');
    assert.equal(error.error.error.message, 'tool_choice: type "tool" and "any" are not supported for this model.');
  }
});

check('the second request reads what the first has written', async ({ claude }) => {
  const client = connect(claude);
  for (const [ttl, bucket] of [['5m', 'ephemeral_5m_input_tokens'], ['1h', 'ephemeral_1h_input_tokens']]) {
    const body = { ...QUESTION, system: [block(`${ttl} ${LONG}`, { ...EPHEMERAL, ttl })] };
    const first = await client.messages.create(body);
    const second = await client.messages.create(body);
    const [, written, rest] = counters(first);
    assert.deepEqual(counters(first), [0, written, rest]);
    assert.ok(written > 1024);
    assert.equal(first.usage.cache_creation[bucket], written);
    assert.deepEqual(counters(second), [written, 0, rest]);
    const { input_tokens: total } = await client.messages.countTokens({ model: MODEL, messages: body.messages, system: body.system });
    assert.equal(total, written + rest);
  }
});

check('an entry is found at the twentieth position and not at the next', async ({ claude }) => {
  const client = connect(claude);
  const ask = (content) => client.messages.create({ ...QUESTION, messages: [{ role: 'user', content }] });
  for (const [more, isFound] of [[19, true], [20, false]]) {
    const [, written] = counters(await ask([block(`${more} ${LONG}`, EPHEMERAL)]));
    const rest = Array.from({ length: more - 1 }, (_, n) => block(`${n}`));
    const message = await ask([block(`${more} ${LONG}`), ...rest, block('end', EPHEMERAL)]);
    assert.equal(message.usage.cache_read_input_tokens, isFound ? written : 0);
  }
});

check('tokens are counted as they are used', async ({ claude }) => {
  const client = connect(claude);
  const { model, messages } = QUESTION;
  const counted = await client.messages.countTokens({ model, messages, tools: [TOOL] });
  const { usage } = await client.messages.create({ ...QUESTION, tools: [TOOL] });
  assert.equal(counted.input_tokens, usage.input_tokens);
});

check('models come in pages and by alias', async ({ claude }) => {
  const { models } = connect(claude);
  const ids = (await all(models.list({ limit: 5 }))).map((model) => model.id);
  assert.equal(new Set(ids).size, ids.length);
  assert.ok(ids.length >= 17 && ids.includes('claude-opus-5-5'));
  const page = await models.list({ limit: 2, after_id: ids[1] });
  assert.deepEqual([page.has_more, page.first_id, page.last_id], [true, ids[2], ids[3]]);
  assert.equal((await models.retrieve('claude-haiku-4-5-20251001')).display_name, 'Claude Haiku 4.5');
  const model = await models.retrieve('claude-opus-5-5');
  assert.deepEqual([model.max_input_tokens, model.max_tokens, model.line], [1_000_000, 128_000, 'opus']);
});

check('a batch has a result for each request', async ({ claude }) => {
  const { batches } = connect(claude).messages;
  const bad = { custom_id: 'bad', params: { ...QUESTION, model: 'none' } };
  const { id, processing_status } = await batches.create({ requests: [...jobs('a', 'b'), bad] });
  assert.equal(processing_status, 'in_progress');
  const batch = await ended(batches, id);
  assert.deepEqual(batch.request_counts, { processing: 0, succeeded: 2, errored: 1, canceled: 0, expired: 0 });
  const results = Object.fromEntries((await all(await batches.results(id))).map((line) => [line.custom_id, line.result]));
  assert.deepEqual(Object.keys(results).sort(), ['a', 'b', 'bad']);
  assert.equal(results.a.message.usage.service_tier, 'batch');
  assert.deepEqual([results.bad.type, results.bad.error.error.type], ['errored', 'not_found_error']);
  assert.equal((await batches.delete(id)).type, 'message_batch_deleted');
  await fails(sdk.NotFoundError, batches.retrieve(id));
});

check('a batch may be cancelled', async ({ claude }) => {
  const { batches } = connect(claude).messages;
  const { id } = await batches.create({ requests: jobs('a') });
  await fails(sdk.AnthropicError, batches.results(id));
  assert.equal((await batches.cancel(id)).processing_status, 'canceling');
  assert.equal((await ended(batches, id)).request_counts.canceled, 1);
});

const CLASSES = [
  [400, 'BadRequestError', 'invalid_request_error'],
  [401, 'AuthenticationError', 'authentication_error'],
  [402, 'PaymentRequiredError', 'billing_error'],
  [403, 'PermissionDeniedError', 'permission_error'],
  [404, 'NotFoundError', 'not_found_error'],
  [408, 'RequestTimeoutError', 'invalid_request_error'],
  [409, 'ConflictError', 'conflict_error'],
  [412, 'PreconditionFailedError', 'invalid_request_error'],
  [413, 'ContentTooLargeError', 'request_too_large'],
  [422, 'UnprocessableEntityError', 'invalid_request_error'],
  [429, 'RateLimitError', 'rate_limit_error'],
  [431, 'RequestHeaderFieldsTooLargeError', 'invalid_request_error'],
  [499, 'ClientClosedRequestError', 'invalid_request_error'],
  [500, 'InternalServerError', 'api_error'],
  [501, 'NotImplementedError', 'api_error'],
  [503, 'ServiceUnavailableError', 'api_error'],
  [504, 'GatewayTimeoutError', 'timeout_error'],
  [529, 'OverloadedError', 'overloaded_error'],
];

check('every status is its typed error', async ({ claude }) => {
  for (const [status, name, type] of CLASSES) {
    const body = { type: 'error', error: { type, message: 'Scripted' } };
    await queue(claude, { status, headers: {}, body });
    const error = await fails(sdk[name], connect(claude).messages.create(QUESTION));
    assert.deepEqual([error.status, error.type, error.error], [status, type, body]);
    assert.match(error.requestID, /^req_011/);
  }
});

check('an error without json is typed by its status', async ({ claude }) => {
  for (const [status, name] of CLASSES) {
    await queue(claude, { status, headers: { 'content-type': 'text/html' }, body: '<html>no</html>' });
    const error = await fails(sdk[name], connect(claude).messages.create(QUESTION));
    assert.match(error.message, /<html>no/);
  }
});

check('what may pass is tried again', async ({ claude }) => {
  for (const status of [408, 409, 429, 500, 503, 529]) {
    await control(claude, '/_mock/reset', {});
    await queue(claude, { status, headers: { 'retry-after-ms': '1' }, body: {} }, 2);
    await connect(claude, { maxRetries: 2 }).messages.create(QUESTION);
    assert.deepEqual(await attempts(claude), ['0', '1', '2']);
  }
});

check('x-should-retry overrides the status', async ({ claude }) => {
  const client = connect(claude, { maxRetries: 1 });
  await queue(claude, { status: 400, headers: { 'x-should-retry': 'true', 'retry-after-ms': '1' }, body: {} });
  await client.messages.create(QUESTION);
  await queue(claude, { status: 529, headers: { 'x-should-retry': 'false' }, body: {} });
  await fails(sdk.OverloadedError, client.messages.create(QUESTION));
  assert.deepEqual(await attempts(claude), ['0', '1', '0']);
});

check('retry-after is waited for', async ({ claude }) => {
  const client = connect(claude, { maxRetries: 1 });
  for (const [headers, least, most] of [[{ 'retry-after-ms': '800' }, 800, 1800], [{ 'retry-after': '1.2' }, 1200, 2200]]) {
    await queue(claude, { status: 429, headers, body: {} });
    const waited = await took(client.messages.create(QUESTION));
    assert.ok(waited >= least - 5 && waited < most, `${waited} ms`);
  }
});

check('an error in mid-stream is thrown and not retried', async ({ claude }) => {
  const client = connect(claude, { maxRetries: 2 });
  const found = await events(client.messages.create({ ...QUESTION, stream: true }));
  await queue(claude, { sse: [...found.slice(0, 3), { ...OVERLOADED, delay_ms: 20 }] });
  const got = [];
  const reading = async () => {
    for await (const event of await client.messages.create({ ...QUESTION, stream: true })) got.push(event);
  };
  const error = await fails(sdk.APIError, reading());
  assert.deepEqual(error.error, OVERLOADED);
  assert.deepEqual(got, found.slice(0, 3));
  await queue(claude, { sse: [OVERLOADED] });
  await assert.rejects(client.messages.stream(QUESTION).finalMessage(), /overloaded_error/);
  assert.deepEqual(await attempts(claude), ['0', '0', '0']);
});

check('a stream that is aborted leaves the mock as it was', async ({ claude }) => {
  const client = connect(claude);
  const stream = client.messages.stream(QUESTION);
  stream.on('text', () => stream.abort());
  await fails(sdk.APIUserAbortError, stream.finalMessage());
  assert.ok((await client.messages.create(QUESTION)).content);
});

check('a timeout of the client is its own', async ({ claude }) => {
  await queue(claude, { status: 200, headers: {}, body: {}, delay_ms: 2000 });
  await fails(sdk.APIConnectionTimeoutError, connect(claude, { timeout: 300 }).messages.create(QUESTION));
  assert.ok((await connect(claude).messages.create(QUESTION)).content);
});

check('a client may ask for its own faults', async ({ claude }) => {
  const faulty = (name, maxRetries) => connect(claude, { maxRetries, defaultHeaders: { 'x-mock-scenario': name } });
  assert.ok((await faulty('529', 1).messages.create(QUESTION)).content);
  assert.deepEqual(await attempts(claude), ['0', '1']);
  await fails(sdk.OverloadedError, faulty('529', 0).messages.create(QUESTION));
  await fails(sdk.RateLimitError, faulty('rate_limit', 0).messages.create(QUESTION));
  await fails(sdk.APIConnectionError, faulty('reset', 0).messages.create(QUESTION));
  const error = await fails(sdk.BadRequestError, faulty('nonsense', 0).messages.create(QUESTION));
  assert.match(error.message, /overloaded/);
});

check('a bad key and an unknown model are refused', async ({ claude }) => {
  await fails(sdk.AuthenticationError, connect(claude, { apiKey: 'sk-ant-invalid' }).messages.create(QUESTION));
  const error = await fails(sdk.NotFoundError, connect(claude).messages.create({ ...QUESTION, model: 'none' }));
  assert.equal(error.error.error.message, 'model: none');
  assert.equal(error.error.request_id, error.requestID);
});

check('sampling is refused in the version of this client', async ({ claude }) => {
  const error = await fails(sdk.BadRequestError, connect(claude).messages.create({ ...QUESTION, temperature: 1 }));
  assert.equal(error.error.error.message, 'temperature: Extra inputs are not permitted');
});

check('beta calls carry their betas', async ({ claude }) => {
  const { messages } = connect(claude).beta;
  const message = await messages.create({ ...QUESTION, betas: ['interleaved-thinking-2025-05-14'] });
  const counted = await messages.countTokens({ model: MODEL, messages: QUESTION.messages });
  assert.equal(counted.input_tokens, message.usage.input_tokens);
  const [first, second] = await requests(claude);
  assert.deepEqual([first.path, first.headers['anthropic-beta']], ['/v1/messages', 'interleaved-thinking-2025-05-14']);
  assert.match(second.headers['anthropic-beta'], /token-counting-2024-11-01/);
});

check('a prefix of the base url is the clients own', async ({ claude }) => {
  const client = connect(claude + '/anthropic');
  assert.ok((await client.messages.stream(QUESTION).finalMessage()).content[0].text);
  const { id } = await client.messages.batches.create({ requests: jobs('a') });
  await ended(client.messages.batches, id);
  assert.equal((await all(await client.messages.batches.results(id))).length, 1);
});

check('the ledger is what was served', async ({ claude }) => {
  const client = connect(claude);
  const body = { ...QUESTION, system: [block(LONG, EPHEMERAL)] };
  const seen = [await client.messages.create(body), await client.messages.create(body)];
  const { lines, requests: count } = await control(claude, '/_mock/ledger');
  assert.equal(count, 2);
  assert.deepEqual(lines.map(({ key, model, kind }) => [key, model, kind]), [[KEY.slice(0, 12), MODEL, 'message']]);
  const sum = (name) => seen.reduce((total, { usage }) => total + usage[name], 0);
  const prices = { input_tokens: 3, cache_creation_input_tokens: 3.75, cache_read_input_tokens: 0.3, output_tokens: 15 };
  let cost = 0;
  for (const [name, price] of Object.entries(prices)) {
    assert.equal(lines[0].usage[name], sum(name));
    cost += (price * sum(name)) / 1e6;
  }
  assert.ok(Math.abs(lines[0].cost_usd - cost) < 1e-9);
});

await main(process.argv[2]);
