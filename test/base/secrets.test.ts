import { format, inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { isSecretName, REDACTED, Redactor, withoutSecrets } from '../../src/base/redaction.ts';
import { parseSecretReference, referenceText, Secret } from '../../src/base/secrets.ts';

const CANARY = 'canary-"7Qx/äß%';

describe('a reference to a secret', () => {
  test.each([
    ['env:API_KEY', 'env:API_KEY'],
    ['file:/etc/kitfs/key', 'file:/etc/kitfs/key'],
    ['cred:agent.token', 'cred:agent.token'],
    ['credential:agent', 'cred:agent'],
  ])('%s says where it lies', (text, shown) => {
    const reference = parseSecretReference(text);
    expect(reference === undefined ? undefined : referenceText(reference)).toBe(shown);
  });

  test.each([
    'hunter2',
    '',
    'env:',
    'env:A B',
    'env:1A',
    'file:key',
    'file:../key',
    'cred:../key',
    'cred:.hidden',
    'cred:a/b',
    'https://user:key@host',
    'ENV:KEY',
  ])('%s is none', (text) => {
    expect(parseSecretReference(text)).toBeUndefined();
  });
});

test('a secret turned into text in any way is its reference', () => {
  const secret = new Secret(CANARY, { kind: 'env', name: 'KEY' });
  const shown = '[secret env:KEY]';
  expect([
    `${secret}`,
    JSON.parse(JSON.stringify({ secret })).secret,
    inspect(secret, { depth: 9, showHidden: true }),
    format('%s', secret),
    inspect([{ secret }], { depth: 9 }).match(/\[secret env:KEY\]/)?.[0],
  ]).toEqual([shown, shown, shown, shown, shown]);
  expect(JSON.stringify({ ...secret })).not.toContain('canary');
  expect(secret.reveal()).toBe(CANARY);
});

test('a secret knows itself, and nothing like it', () => {
  const secret = new Secret(CANARY, { kind: 'env', name: 'KEY' });
  expect(secret.matches(CANARY)).toBe(true);
  for (const other of ['', CANARY.slice(1), `${CANARY} `, CANARY.toUpperCase()]) {
    expect(secret.matches(other)).toBe(false);
  }
});

describe('redaction', () => {
  test('takes a known secret out of text and values, however it was written down', () => {
    const redactor = new Redactor();
    redactor.know(new Secret(CANARY, { kind: 'env', name: 'KEY' }));
    const given = { [`at ${CANARY}`]: [CANARY, { deep: JSON.stringify({ x: CANARY }) }], n: 1 };
    const copy = structuredClone(given);
    const shown = JSON.stringify(redactor.value(given));
    expect(shown).not.toContain('canary');
    expect(redactor.text(`https://host/${encodeURIComponent(CANARY)}`)).toBe(
      `https://host/${REDACTED}`,
    );
    expect(given).toEqual(copy);
  });

  test.each([
    ['https://ann:canary@host/x', `https://${REDACTED}@host/x`],
    ['s3+https://canary@host', `s3+https://${REDACTED}@host`],
    ['https://a:can@ary@host/x', `https://${REDACTED}@host/x`],
    ['GET /x?X-Amz-Signature=canary&n=1', `GET /x?X-Amz-Signature=${REDACTED}&n=1`],
    ['access_token=canary;', `access_token=${REDACTED};`],
    ['AWS_SECRET_ACCESS_KEY=canary', `AWS_SECRET_ACCESS_KEY=${REDACTED}`],
    ['{"apiKey":"canary"}', `{"apiKey":"${REDACTED}"}`],
    ['Authorization: Bearer canary.1', `Authorization: Bearer ${REDACTED}`],
  ])('of %s', (text, shown) => {
    expect(withoutSecrets(text)).toBe(shown);
    expect(withoutSecrets(shown)).toBe(shown);
  });

  test.each([
    'vfs_read /ipfs/token: not found; check the name',
    'mail ann@host.example',
    'https://host/a@b',
    'secrets are kept by reference',
    'the basic idea',
  ])('leaves %s as it is', (text) => {
    expect(withoutSecrets(text)).toBe(text);
  });

  test.each(['a.', 'a-', 'a://', 'token ', 'basic ', '-', '"token" '])(
    'reads a text of %j alone about once, however long it is',
    (part) => {
      const text = part.repeat(200_000 / part.length);
      const begun = performance.now();
      expect(withoutSecrets(text)).toBe(text);
      // Read once for each of its parts it takes a minute.
      expect(performance.now() - begun).toBeLessThan(5000);
    },
  );

  test('shows no field whose name says that it holds a secret, at any depth', () => {
    const redactor = new Redactor();
    const value = { a: [{ b: { secretKey: 'x', api_key: 'canary', Password: 7, auth: {} } }] };
    expect(redactor.value(value)).toEqual({
      a: [{ b: { secretKey: 'x', api_key: REDACTED, Password: REDACTED, auth: REDACTED } }],
    });
    expect(['progressToken', 'author', 'tokens_used', 'path'].filter(isSecretName)).toEqual([]);
  });

  test('ends in values that have no end', () => {
    const endless: Record<string, unknown> = {};
    endless['self'] = endless;
    expect(JSON.stringify(new Redactor().value(endless))).toContain(REDACTED);
  });
});
