// Amounts as they stand on a page: short to read, whole on hover, focus and copy.

import { Tooltip } from '@mantine/core';
import { balance, charge, full } from '../money/format';

interface Props {
  amount: string;
  /** Where the amount can be focused by itself; within links and buttons it cannot. */
  focusable?: boolean;
}

function Exact({ amount, focusable, children }: Props & { children: React.ReactNode }) {
  const exact = full(amount);
  return (
    <Tooltip label={exact} events={{ hover: true, focus: true, touch: true }}>
      <span className="amount" {...(focusable ? { tabIndex: 0 } : {})}>
        {children}
      </span>
    </Tooltip>
  );
}

/** Two decimals, never more than there is. */
export function Balance({ amount, focusable }: Props) {
  return (
    <Exact amount={amount} focusable={focusable}>
      {balance(amount)}
    </Exact>
  );
}

/** Up to six decimals, the zeros after them dimmed. */
export function Charge({ amount, focusable }: Props) {
  const { text, zeros } = charge(amount);
  return (
    <Exact amount={amount} focusable={focusable}>
      {text}
      {zeros && (
        <span className="zeros" aria-hidden="true">
          {zeros}
        </span>
      )}
    </Exact>
  );
}

/** All nine decimals: receipts and ledgers. */
export function Full({ amount }: { amount: string }) {
  return <span className="amount">{full(amount)}</span>;
}
