/** A nominal type over a structural one: two ids of one shape do not mix. */
declare const brand: unique symbol;
export type Brand<T, B extends string> = T & { readonly [brand]: B };
