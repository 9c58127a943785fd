/** Where kitfs puts trees on a node that it publishes: private files too, so who may see it is asked. */

/** The directory of MFS: one name in it for each tree. */
export const PUBLISHED_IN = '/kitfs';

/** Whether a path of MFS is that directory, or is in it. */
export const isPublishedIn = (path: string): boolean =>
  path === PUBLISHED_IN || path.startsWith(`${PUBLISHED_IN}/`);

/** What the names of pins begin with, at a store and here. */
export const PUBLISHED_PIN = 'kitfs ';
export const PUBLISHED_PIN_HERE = 'sync ';

export const isPublishedPin = (name: string): boolean =>
  name.startsWith(PUBLISHED_PIN) || name.startsWith(PUBLISHED_PIN_HERE);
