/**
 * The library that makes and reads what UCANs are: loaded with the first call, which takes 0.2 s that
 * no start of a daemon should.
 */
export async function loadUcanto() {
  const [core, ed25519] = await Promise.all([
    import('@ucanto/core'),
    import('@ucanto/principal/ed25519'),
  ]);
  return { core, ed25519 };
}

export type Ucanto = Awaited<ReturnType<typeof loadUcanto>>;
