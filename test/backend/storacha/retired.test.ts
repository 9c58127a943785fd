/** Services that ended are refused by name, and nobody is asked. */
import { describe, expect, test } from 'vitest';
import { openStoracha, type StorachaOptions } from '../../../src/backend/storacha/storacha.ts';
import { timing } from '../stores/fixture.ts';

const neverRead = () => {
  throw new Error('a secret was read');
};

const opening = (more: Partial<StorachaOptions>) => () =>
  openStoracha({
    serviceUrl: 'http://127.0.0.1:1',
    serviceDid: 'did:web:example.org',
    space: 'did:key:z6Mkabc',
    key: neverRead,
    proof: neverRead,
    requestsMax: 2,
    ...timing(),
    ...more,
  });

const ended = expect.objectContaining({
  failure: 'configuration',
  hint: expect.stringMatching(/ended in 2026.*service_url.*service_did/),
});

describe('the public service', () => {
  test('is what is meant when nobody says otherwise, and it ended: so much is said at once', () => {
    expect(opening({ serviceUrl: undefined, serviceDid: undefined })).toThrow(ended);
  });

  test.each([
    'https://up.storacha.network',
    'https://UP.Storacha.Network./',
    'http://staging.up.storacha.network:8080',
    'https://up.web3.storage',
    'https://web3.storage',
  ])('is not asked at %s', (serviceUrl) => {
    expect(opening({ serviceUrl })).toThrow(ended);
  });

  test('is not asked for receipts, and not as a gateway', () => {
    expect(opening({ receiptsUrl: 'https://up.storacha.network/receipt/' })).toThrow(ended);
    for (const gatewayUrl of [
      'https://w3s.link',
      'https://x.ipfs.w3s.link',
      'https://storacha.link',
    ]) {
      expect(opening({ gatewayUrl })).toThrow(ended);
    }
  });

  test('is not a service whose name only looks like it', async () => {
    for (const host of ['storacha.network.example.org', 'mystoracha.network', '127.0.0.1:1']) {
      await using _ = opening({ serviceUrl: `http://${host}` })();
    }
  });
});

describe('a space', () => {
  test.each<[keyof StorachaOptions, string]>([
    ['serviceUrl', 'ftp://x'],
    ['serviceUrl', 'http://user:password@x'],
    ['serviceUrl', 'x'],
    ['receiptsUrl', 'unix:/x'],
    ['gatewayUrl', 'http://x#y'],
    ['gatewayUrl', 'http://x/path'],
    ['serviceDid', 'example.org'],
    ['serviceDid', 'did:web:'],
    ['space', 'z6Mkabc'],
  ])('is not opened with %s %j', (name, value) => {
    expect(opening({ [name]: value })).toThrow(
      expect.objectContaining({ failure: 'configuration' }),
    );
  });

  test('is opened without a request, a secret or the library', async () => {
    await using store = opening({})();
    expect(store).toMatchObject({
      kind: 'storacha',
      place: 'storacha://did:key:z6Mkabc at http://127.0.0.1:1',
      limits: { carBytesMax: 32 * 1024 * 1024 },
    });
    expect(store.source).toBeUndefined();
  });

  test('reads from a gateway, over TLS too', async () => {
    await using store = opening({ gatewayUrl: 'https://gateway.example.org' })();
    expect(store.source).toMatchObject({
      kind: 'gateway',
      endpoint: 'https://gateway.example.org',
    });
  });
});
