/** The engine S3 keeps the laws of all stores on a real server (versitygw). */
import { afterAll, beforeAll } from 'vitest';
import { describeStore } from '../backend/stores/conformance.ts';
import { credentialsOf, storeAt } from '../backend/stores/s3-server.ts';
import { KEYS, S3Server } from '../services/versitygw.ts';

let server: S3Server;
beforeAll(async () => {
  server = await S3Server.start();
});
afterAll(async () => {
  await server.close();
});

describeStore(
  'S3 on versitygw',
  async () =>
    storeAt(server.endpoint, {
      bucket: server.makeBucket(),
      credentials: () => credentialsOf(KEYS.accessKeyId, KEYS.secretAccessKey),
    }),
  {
    copying: true,
    leftovers: true,
    metadata: true,
    nested: false,
    digest: true,
    putOver: true,
    removeVersion: true,
  },
);
