/** All of them, also when one fails: nothing goes on behind the back of who is told of a failure. */
export async function together(works: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(works)).find(({ status }) => status === 'rejected');
  if (failed?.status === 'rejected') throw failed.reason;
}

/**
 * What the work on each of them answers, in their order; so many are under way at a time. After a
 * failure none is begun, and those under way have ended when it is told.
 */
export async function inTurns<Item, Answer>(
  items: readonly Item[],
  atOnce: number,
  work: (item: Item) => Promise<Answer>,
): Promise<Answer[]> {
  const answers: Answer[] = [];
  const waiting = items.entries();
  let hasFailed = false;
  const run = async () => {
    for (const [at, item] of waiting) {
      if (hasFailed) return;
      try {
        answers[at] = await work(item);
      } catch (error) {
        hasFailed = true;
        throw error;
      }
    }
  };
  await together(Array.from({ length: Math.min(atOnce, items.length) }, run));
  return answers;
}
