import { Anchor, type AnchorProps } from '@mantine/core';
import { createLink } from '@tanstack/react-router';
import type { AnchorHTMLAttributes, Ref } from 'react';

type Props = AnchorProps &
  Omit<AnchorHTMLAttributes<HTMLAnchorElement>, keyof AnchorProps> & { ref?: Ref<HTMLAnchorElement> };

function Place(props: Props) {
  return <Anchor {...props} />;
}

/** A link to a page of the console: the router's, so that it is checked, with the library's looks. */
export const TextLink = createLink(Place);
