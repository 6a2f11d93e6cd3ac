// What the official `@anthropic-ai/sdk` sees of the Claude mock: `node claude_checks.mjs FACT`, where it is installed.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { all, check, fails, main } from './suite.mjs';

const { default: Anthropic } = createRequire(process.cwd() + '/')('@anthropic-ai/sdk');
const MODEL = 'claude-sonnet-4-6';
const QUESTION = { model: MODEL, max_tokens: 1000, messages: [{ role: 'user', content: 'Hello' }] };
const SCHEMA = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const TOOL = { name: 'Weather', description: 'Of a city', input_schema: SCHEMA };
const SYSTEM = [{ type: 'text', text: 'You answer. '.repeat(500), cache_control: { type: 'ephemeral' } }];

function connect(url, options = {}) {
  return new Anthropic({ baseURL: url, apiKey: 'sk-ant-test', maxRetries: 0, ...options });
}

async function control(url, path, body) {
  const init = body ? { method: 'POST', body: JSON.stringify(body) } : {};
  return (await fetch(url + path, init)).json();
}

function queue(url, response, times = 1) {
  return control(url, '/_mock/script', { rules: [{ match: { path: '/v1/messages' }, times, response }] });
}

check('a message has text, usage and the id of its request', async ({ claude }) => {
  const message = await connect(claude).messages.create(QUESTION);
  assert.equal(message.content[0].type, 'text');
  assert.equal(message.stop_reason, 'end_turn');
  assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0);
  assert.match(message._request_id, /^req_011/);
});

check('a stream gathers the text that a message has', async ({ claude }) => {
  const client = connect(claude);
  let text = '';
  const stream = client.messages.stream(QUESTION).on('text', (delta) => (text += delta));
  const final = await stream.finalMessage();
  assert.equal(final.content[0].text, text);
  assert.equal(text, (await client.messages.create(QUESTION)).content[0].text);
});

check('raw events come in their order', async ({ claude }) => {
  const kinds = [];
  for await (const event of await connect(claude).messages.create({ ...QUESTION, stream: true })) kinds.push(event.type);
  assert.equal(kinds[0], 'message_start');
  assert.deepEqual(kinds.slice(-3), ['content_block_stop', 'message_delta', 'message_stop']);
});

check('a tool loop goes round', async ({ claude }) => {
  const client = connect(claude);
  const asked = { ...QUESTION, tools: [TOOL], tool_choice: { type: 'tool', name: 'Weather' } };
  const stream = client.messages.stream(asked);
  const fragments = [];
  stream.on('inputJson', (fragment) => fragments.push(fragment));
  const first = await stream.finalMessage();
  const call = first.content.at(-1);
  assert.equal(first.stop_reason, 'tool_use');
  assert.deepEqual(JSON.parse(fragments.join('')), call.input);
  const result = { type: 'tool_result', tool_use_id: call.id, content: 'sunny' };
  const messages = [...QUESTION.messages, { role: 'assistant', content: first.content }, { role: 'user', content: [result] }];
  const second = await client.messages.create({ ...QUESTION, tools: [TOOL], messages });
  assert.equal(second.stop_reason, 'end_turn');
});

check('the second request reads the prompt cache', async ({ claude }) => {
  const client = connect(claude);
  const first = await client.messages.create({ ...QUESTION, system: SYSTEM });
  const second = await client.messages.create({ ...QUESTION, system: SYSTEM });
  assert.ok(first.usage.cache_creation_input_tokens > 1024);
  assert.equal(second.usage.cache_read_input_tokens, first.usage.cache_creation_input_tokens);
});

check('tokens are counted as they are used', async ({ claude }) => {
  const client = connect(claude);
  const { model, messages } = QUESTION;
  const counted = await client.messages.countTokens({ model, messages });
  assert.equal(counted.input_tokens, (await client.messages.create(QUESTION)).usage.input_tokens);
});

check('models come in pages', async ({ claude }) => {
  const models = await all(connect(claude).models.list({ limit: 5 }));
  assert.equal(new Set(models.map((model) => model.id)).size, models.length);
  assert.ok(models.some((model) => model.id === 'claude-opus-5-5'));
});

check('a batch has a result for each request', async ({ claude }) => {
  const { batches } = connect(claude).messages;
  const requests = ['a', 'b'].map((custom_id) => ({ custom_id, params: QUESTION }));
  let batch = await batches.create({ requests });
  for (let tries = 0; batch.processing_status !== 'ended' && tries < 100; tries += 1) {
    await new Promise((wake) => setTimeout(wake, 50));
    batch = await batches.retrieve(batch.id);
  }
  const results = await all(await batches.results(batch.id));
  assert.deepEqual(results.map((line) => [line.custom_id, line.result.type]).sort(), [['a', 'succeeded'], ['b', 'succeeded']]);
  assert.equal((await batches.delete(batch.id)).type, 'message_batch_deleted');
});

for (const [status, name] of [
  [400, 'BadRequestError'],
  [401, 'AuthenticationError'],
  [403, 'PermissionDeniedError'],
  [404, 'NotFoundError'],
  [409, 'ConflictError'],
  [422, 'UnprocessableEntityError'],
  [429, 'RateLimitError'],
]) {
  check(`${status} is a ${name}`, async ({ claude }) => {
    await queue(claude, { status, body: { type: 'error', error: { type: 'x', message: 'y' } } });
    const error = await fails(Anthropic[name], connect(claude).messages.create(QUESTION));
    assert.equal(error.status, status);
    assert.match(error.requestID ?? error.headers.get('request-id'), /^req_011/);
  });
}

check('what may pass is tried again', async ({ claude }) => {
  await queue(claude, { status: 529, headers: { 'retry-after-ms': '1' }, body: {} }, 2);
  await connect(claude, { maxRetries: 2 }).messages.create(QUESTION);
  const { requests } = await control(claude, '/_mock/requests');
  assert.deepEqual(requests.map((request) => request.headers['x-stainless-retry-count']), ['0', '1', '2']);
});

check('an error in mid-stream is thrown', async ({ claude }) => {
  await queue(claude, { sse: [{ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }] });
  await assert.rejects(connect(claude).messages.stream(QUESTION).finalMessage(), /overloaded_error/);
});

check('a stream that is aborted leaves the mock as it was', async ({ claude }) => {
  const client = connect(claude);
  const stream = client.messages.stream(QUESTION);
  stream.on('text', () => stream.abort());
  await assert.rejects(stream.finalMessage());
  assert.ok((await client.messages.create(QUESTION)).content);
});

check('a bad key and an unknown model are refused', async ({ claude }) => {
  await fails(Anthropic.AuthenticationError, connect(claude, { apiKey: 'sk-ant-invalid' }).messages.create(QUESTION));
  const error = await fails(Anthropic.NotFoundError, connect(claude).messages.create({ ...QUESTION, model: 'none' }));
  assert.equal(error.error.error.message, 'model: none');
});

await main(process.argv[2]);
