/** `npm run test:stress -- io`: the whole of `io.test.ts`, with a million operations. */
import './io.test.ts';
